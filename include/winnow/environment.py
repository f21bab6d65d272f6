"""What a process that runs a model's or another project's code sees of this one's environment.

Airflow's workers hold keys with which anybody becomes an administrator. Code that came with a model
needs none of them, so its environment is put together from what is known to be needed: nothing
that is not named here goes along.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

MORE = "WINNOW_PASS_ENVIRONMENT"
"""Names further variables for such processes, apart by commas or blanks; `NAME_*` names many."""

PASSED = (
    # the machine: programs, folders, language, certificates, proxies
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "HOSTNAME", "TERM", "TZ", "LANG", "LANGUAGE"),
    *("LC_*", "TMPDIR", "TEMP", "TMP", "XDG_*", "LD_LIBRARY_PATH", "LD_PRELOAD", "MALLOC_*"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    # Python
    *("PYTHON*", "VIRTUAL_ENV", "CONDA_PREFIX"),
    # the lake, with what boto3 finds its credentials by
    *("WINNOW_LAKE", "WINNOW_MODELS", "AWS_*"),
    # models: the hub, PyTorch, vLLM and what they compile with
    *("HF_*", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_*", "TRANSFORMERS_*", "TOKENIZERS_*"),
    *("SAFETENSORS_*", "TORCH*", "PYTORCH_*", "TRITON_*", "VLLM_*", "FLASHINFER_*", "RAY_*"),
    *("CC", "CXX", "CPATH", "LIBRARY_PATH", "MAX_JOBS"),
    # processors and accelerators, and how they find each other
    *("OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "BLIS_*", "NUMEXPR_*", "NUMBA_*"),
    *("CUDA_*", "CUBLAS_*", "CUDNN_*", "NVIDIA_*", "NVTE_*", "NCCL_*", "GLOO_*", "UCX_*"),
    *("ROCM_*", "ROCR_*", "HIP_*", "HSA_*", "MIOPEN_*", "ONEAPI_*", "SYCL_*", "ZE_*", "CCL_*"),
    *("MASTER_ADDR", "MASTER_PORT"),
)
"""Variables that go along, by name or by how it begins."""


def foreign_environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that runs code of others, with `variables` of its own."""
    allowed = [*PASSED, *filter(None, re.split(r"[,\s]+", os.environ.get(MORE, "")))]
    inherited = {
        name: value
        for name, value in os.environ.items()
        if any(fnmatchcase(name, pattern) for pattern in allowed)
    }
    return inherited | dict(variables or {})
