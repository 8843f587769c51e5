FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OPENBLAS_NUM_THREADS=1 \
    OMP_NUM_THREADS=1 \
    DATA_DIR=/data

RUN useradd --create-home --uid 10001 paperround && install -d -o paperround /data
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY . .
USER paperround
VOLUME /data
EXPOSE 8000

# waitress leaves in order by SIGINT only; the first process of a container ignores SIGTERM.
STOPSIGNAL SIGINT
# Proxies' headers reach Django, where TRUST_PROXY judges them.
CMD ["waitress-serve", "--listen=0.0.0.0:8000", "--threads=8", "--no-clear-untrusted-proxy-headers", "config.wsgi:application"]
