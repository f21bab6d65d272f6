"""Expand: each prompt gets a candidate pool of responses from a language model, with features.

`shard` plans the work in calls, `runner` does a shard, `calls` is one resumable step of it,
`engine` the contract that vLLM, a server and transformers fill, `features` what the reward sees,
`audit` what the finished pools look like. PyTorch, vLLM and transformers are imported inside
functions only, so that the scheduler side reads plans and manifests without them.
"""
