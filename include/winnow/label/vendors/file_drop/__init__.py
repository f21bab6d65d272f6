"""A vendor that takes and gives files, in a folder or on S3: `client` is the adapter."""

from winnow.label.vendor import VendorKind

KIND = VendorKind(extra=("endpoint_url", "region"))
