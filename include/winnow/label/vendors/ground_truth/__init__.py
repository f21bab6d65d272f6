"""SageMaker Ground Truth, for accounts that have it: `client` is the adapter."""

from winnow.label.vendor import VendorKind

KIND = VendorKind(
    extra=(
        *("endpoint_url", "region", "role_arn", "workteam_arn"),
        *("template_uri", "pre_lambda_arn", "post_lambda_arn", "title"),
    )
)
