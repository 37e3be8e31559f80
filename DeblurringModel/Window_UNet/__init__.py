"""The small U-Net that is bundled."""
