"""The choice of a text-generation engine."""

from __future__ import annotations

from winnow.campaign import Expand
from winnow.errors import Fatal
from winnow.expand.engine import Engine, Report, ServerAddress
from winnow.expand.models import settle_arithmetic
from winnow.expand.server_engine import open_server
from winnow.expand.transformers_engine import open_transformers
from winnow.expand.vllm_engine import import_vllm, open_vllm


def open_engine(
    settings: Expand, model: str, server: ServerAddress | None, report: Report
) -> Engine:
    """Load a model; `auto` takes vLLM where it can be imported, else transformers, and says why.

    `model` is a folder or a hub id, or its name on `server`, which the engine of that name needs.
    `report` gets one "engine" event with the choice and its reason.

    Raises:
        Fatal: The engine is not installed, or the model cannot be loaded or has no chat template.
        Retryable: The server cannot be reached.
    """
    kind, why = settings.engine, f"the campaign asks for {settings.engine}"
    opened: Engine
    if kind == "server":
        if server is None:
            raise Fatal("expand.engine is server: say where it is, see expand.server.connection.")
        opened = open_server(settings, model, server)
        report({"event": "engine", "engine": opened.name, "version": opened.version, "why": why})
        return opened
    settle_arithmetic()
    if kind in ("auto", "vllm"):
        try:
            import_vllm()
        except (ImportError, OSError) as error:
            if kind == "vllm":
                raise Fatal(
                    f"vLLM cannot be imported here ({error}); install it in this environment or "
                    "set expand.engine to auto or transformers."
                ) from error
            why = f"vLLM cannot be imported here ({error}); transformers is slower"
        else:
            why = "vLLM is installed" if kind == "auto" else why
            kind = "vllm"
    opened = (open_vllm if kind == "vllm" else open_transformers)(settings, model)
    report({"event": "engine", "engine": opened.name, "version": opened.version, "why": why})
    return opened
