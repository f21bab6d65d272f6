"""The page that a Ground Truth worker sees: a Crowd HTML form with Liquid.

Everything from a task goes through `escape` into a block that keeps its line ends, so that it is
shown and never run (https://docs.aws.amazon.com/sagemaker/latest/dg/sms-custom-templates-step2.html
and its page on Liquid). `task.input` is a line of the manifest.
"""

from __future__ import annotations

from pathlib import Path


def worker_template() -> str:
    """The template, in Liquid."""
    return (Path(__file__).with_name("templates") / "worker.html").read_text()
