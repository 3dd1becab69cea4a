# Motions that are told, from one drawn street. Run in the repository's root; docs/control.md has all words.

# The right car stands while the others go: the numbers are those of street_instances.png.
seg2vid generate examples/street.png -o stopped.mp4 --frames 9 --instances examples/street_instances.png --camera still --move "car=forward:6" --move "car#8=still"

# People walk left while the camera stands.
seg2vid generate examples/street.png -o left.mp4 --frames 9 --camera still --move "person=right:-1.4"

# The camera turns left and drives on.
seg2vid generate examples/street.png -o turning.mp4 --frames 9 --camera "forward=6,turn=-12"

# All is frozen.
seg2vid generate examples/street.png -o frozen.mp4 --frames 9 --camera still --move all=still --freeze "road,sidewalk,building,pole,traffic light,traffic sign,vegetation,sky"

# There and back, round and round.
seg2vid generate examples/street.png -o loop.gif --frames 24 --camera "forward=8" --loop
