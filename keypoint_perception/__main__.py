"""Run ``python -m keypoint_perception VERB``."""

from keypoint_perception.commands.program import main

if __name__ == '__main__':
    main()
