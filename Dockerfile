# The app in a container.
#
#     docker build -t see-every-object .
#     docker run -p 7860:7860 -v see-every-object:/data see-every-object
#
# With an Nvidia card (and its container toolkit on the host):
#
#     docker build -t see-every-object --build-arg TORCH=cu128 .
#     docker run --gpus all -p 7860:7860 -v see-every-object:/data see-every-object
#
# Everything that the app writes lies in /data: uploads, results and weights. So the rest may be read-only:
# docker run --read-only …
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

# cpu, or a release of CUDA as https://download.pytorch.org/whl names it. The versions are those of tools/deploy.py.
ARG TORCH=cpu
RUN pip install --no-cache-dir --index-url "https://download.pytorch.org/whl/${TORCH}" \
    torch==2.11.0 torchvision==0.26.0

WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt

COPY . .
RUN useradd --uid 1000 --user-group --no-create-home --home-dir /data app && mkdir /data && chown app:app /data
USER 1000:1000
ENV HOME=/data TMPDIR=/data GRADIO_TEMP_DIR=/data HF_HOME=/data/hub TORCH_HOME=/data/torch \
    GRADIO_SERVER_NAME=0.0.0.0 GRADIO_ANALYTICS_ENABLED=False PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=60s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/', timeout=8)"]
CMD ["python", "app.py"]
