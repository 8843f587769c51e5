# The program as docker-compose.yml runs it: one image for web, workers, beat and every command.

FROM python:3.12-slim-trixie AS build
RUN python -m venv --without-pip /venv
COPY requirements.txt /
# Locked and hashed; wheels alone, so there is no compiler to leave out of the image.
RUN pip --python /venv install --no-cache-dir --require-hashes -r /requirements.txt


FROM python:3.12-slim-trixie

# For `manage.py backup` and `restore`: of the major version of docker-compose.yml's PostgreSQL.
RUN apt-get update \
    && apt-get install -y --no-install-recommends postgresql-client-17 \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --uid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin paperround \
    && install -d -m 700 -o paperround -g paperround /data

ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OPENBLAS_NUM_THREADS=1 \
    OMP_NUM_THREADS=1 \
    DATA_DIR=/data \
    WEB_BIND=0.0.0.0:8000

COPY --from=build /venv /venv
WORKDIR /app
COPY manage.py pyproject.toml LICENSE ./
COPY config config
COPY papers papers
COPY subscribers subscribers
COPY digest digest
COPY templates templates
# The file system is read-only when it runs, so it is compiled now.
RUN python -m compileall -q .

USER 10001:10001
VOLUME /data
EXPOSE 8000

HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD ["python", "config/probe.py"]

# Web, workers and beat all end in order by it, each with exit code 0.
STOPSIGNAL SIGTERM
CMD ["gunicorn", "-c", "config/gunicorn.py", "config.wsgi:application"]
