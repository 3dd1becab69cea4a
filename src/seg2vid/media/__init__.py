"""Files of pictures, label maps and videos, and what a generated video is."""
