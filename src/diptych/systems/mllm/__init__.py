"""Systems with multimodal language models, and the captioner that stands in for one."""
