"""Networks that smp and timm do not have, and the pretrained weights of encoders."""
