# ROS 2 Jazzy on a Jetson with JetPack 6 (Ubuntu 22.04, CUDA 12.6, TensorRT 10.3).
#
# On the Jetson itself:
#
#     docker build -f docker/jetpack6.Dockerfile -t keypoint_perception:jetpack6 .
#
# Jazzy's packages are for Ubuntu 24.04, JetPack 6 is Ubuntu 22.04. So the image is Ubuntu 24.04 with
# ROS, and takes the CUDA and TensorRT libraries, which need nothing newer, out of NVIDIA's image.
# TensorRT's Python API comes from there too; it is for Python 3.10, which Jazzy's rclpy is not: the
# engine is therefore ONNX Runtime on the CPU unless TENSORRT_WHEEL names a wheel of TensorRT 10.3
# for Python 3.12 and aarch64, which NVIDIA's archive of that version has (python/ inside of it).
#
#     cp TensorRT-10.3.*/python/tensorrt-10.3.*-cp312-*_aarch64.whl docker/
#     docker build ... --build-arg TENSORRT_WHEEL=docker/tensorrt-10.3.0-cp312-none-linux_aarch64.whl .
#
# README.md beside this file says how to run it, and what of it has been tried.
ARG JETPACK=nvcr.io/nvidia/l4t-jetpack:r36.4.0
ARG ROS=ros:jazzy-ros-base-noble
FROM ${JETPACK} AS jetpack

FROM ${ROS}

ARG DEBIAN_FRONTEND=noninteractive
ENV LANG=C.UTF-8

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        python3-numpy \
        python3-opencv \
        python3-rich \
        python3-typer \
        python3-venv \
        python3-yaml \
        ros-jazzy-visualization-msgs \
    && rm -rf /var/lib/apt/lists/*

COPY --from=jetpack /usr/local/cuda-12.6/targets/aarch64-linux/lib/ /opt/jetpack/lib/
COPY --from=jetpack /usr/lib/aarch64-linux-gnu/libnvinfer*.so* /opt/jetpack/lib/
COPY --from=jetpack /usr/lib/aarch64-linux-gnu/libnvonnxparser.so* /opt/jetpack/lib/

ARG TENSORRT_WHEEL=""
COPY . /ws/src/keypoint_perception
RUN python3 -m venv --system-site-packages /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir 'numpy<2' 'mcap>=1.6' 'rosbags>=0.10' onnxruntime \
    && if [ -n "${TENSORRT_WHEEL}" ]; then \
        /opt/venv/bin/pip install --no-cache-dir 'cuda-python>=12.6,<13' \
            "/ws/src/keypoint_perception/${TENSORRT_WHEEL}"; \
    fi
RUN . /opt/ros/jazzy/setup.sh \
    && cd /ws \
    && colcon build --packages-select keypoint_perception \
    && rm -rf build log

COPY docker/entrypoint.sh /entrypoint.sh
# The driver's own libraries (nvidia-container-runtime puts them there) and those of above
ENV PATH=/opt/venv/bin:${PATH} \
    LD_LIBRARY_PATH=/opt/jetpack/lib:/usr/lib/aarch64-linux-gnu/nvidia \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=all \
    HOME=/tmp \
    ROS_LOG_DIR=/tmp/ros_log
# Not root; `docker run --user` may name any other, as HOME is writable for all
USER ubuntu
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "run", "keypoint_perception", "doctor"]
