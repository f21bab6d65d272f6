"""Label Studio, self-hosted, over its REST API: `client` is the adapter."""

from winnow.label.vendor import VendorKind

KIND = VendorKind("header")
