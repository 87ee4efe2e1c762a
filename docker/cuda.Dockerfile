# ROS 2 Jazzy with ONNX Runtime and TensorRT on an NVIDIA GPU.
#
# A PC (amd64):
#
#     docker build -f docker/cuda.Dockerfile -t keypoint_perception:cuda .
#
# A Jetson with JetPack 7 (Ubuntu 24.04, CUDA 13), on the Jetson itself:
#
#     docker build -f docker/cuda.Dockerfile -t keypoint_perception:jetpack7 \
#         --build-arg BASE=nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04 \
#         --build-arg GPU_PACKAGES="onnxruntime tensorrt-cu13>=10.13,<12 cuda-python>=13,<14" .
#
# README.md beside this file says how to run it, and what of it has been tried.
ARG BASE=nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04
FROM ${BASE}

ARG DEBIAN_FRONTEND=noninteractive
ENV LANG=C.UTF-8

# ROS 2 from its own archive, and from Ubuntu what package.xml asks for
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl \
    && curl -fsSL https://raw.githubusercontent.com/ros/rosdistro/master/ros.key \
        -o /usr/share/keyrings/ros-archive-keyring.gpg \
    && . /etc/os-release \
    && echo "deb [signed-by=/usr/share/keyrings/ros-archive-keyring.gpg] http://packages.ros.org/ros2/ubuntu ${VERSION_CODENAME} main" \
        > /etc/apt/sources.list.d/ros2.list \
    && apt-get update \
    && apt-get install -y --no-install-recommends \
        python3-colcon-common-extensions \
        python3-numpy \
        python3-opencv \
        python3-rich \
        python3-typer \
        python3-venv \
        python3-yaml \
        ros-jazzy-ros-base \
        ros-jazzy-visualization-msgs \
    && rm -rf /var/lib/apt/lists/*

# What apt has not, in an environment that sees what apt has; NumPy stays the one of the ROS packages
ARG GPU_PACKAGES="onnxruntime-gpu>=1.20 tensorrt-cu12>=10.3,<12 cuda-python>=12.6,<13"
RUN python3 -m venv --system-site-packages /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir 'numpy<2' 'mcap>=1.6' 'rosbags>=0.10' ${GPU_PACKAGES}

COPY . /ws/src/keypoint_perception
RUN . /opt/ros/jazzy/setup.sh \
    && cd /ws \
    && colcon build --packages-select keypoint_perception \
    && rm -rf build log

COPY docker/entrypoint.sh /entrypoint.sh
ENV PATH=/opt/venv/bin:${PATH} \
    HOME=/tmp \
    ROS_LOG_DIR=/tmp/ros_log
# Not root; `docker run --user` may name any other, as HOME is writable for all
USER ubuntu
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "run", "keypoint_perception", "doctor"]
