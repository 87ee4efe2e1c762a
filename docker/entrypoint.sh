#!/bin/bash
# Sources ROS and this package, and lets Fast DDS have room for images unless told otherwise.
set -e
source /opt/ros/jazzy/setup.bash
source /ws/install/setup.bash
profile=$(ros2 pkg prefix --share keypoint_perception)/config/fastdds_large_images.xml
export FASTRTPS_DEFAULT_PROFILES_FILE=${FASTRTPS_DEFAULT_PROFILES_FILE:-$profile}
exec "$@"
