"""From tensors with places to passes and drains."""
