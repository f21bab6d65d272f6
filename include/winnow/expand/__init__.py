"""Expand: each prompt gets a candidate pool of responses from a language model, with features.

`shard` plans the work, `runner` is the process on the GPU that does it, `groups` is one resumable
step of it, `engine` the contract that vLLM and transformers fill, `features` what the reward sees.
PyTorch, vLLM and transformers are imported inside functions only, so that the scheduler side reads
plans and manifests without them.
"""
