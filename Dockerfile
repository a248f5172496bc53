# docker build -t kimi-proxy . && docker compose up -d    (docs/deployment.md)
FROM python:3.11-slim

RUN useradd --system --uid 10001 --home-dir /data --create-home kimi-proxy
WORKDIR /app

COPY requirements.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check --requirement requirements.txt

COPY wsgi.py gunicorn.conf.py ./
COPY kimi_proxy ./kimi_proxy
# The user may not write here, so the bytecode is made now; the default state,
# data/kimi-proxy.db, goes into the volume.
RUN python -m compileall -q kimi_proxy wsgi.py && ln -s /data data

# Where no config.yaml is mounted the predecessors' variables are read: this one is
# theirs, too. Without a client key the gateway still listens on loopback only.
ENV HOST=0.0.0.0
USER kimi-proxy
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s \
    CMD ["python", "-m", "kimi_proxy", "health"]
CMD ["gunicorn", "wsgi:app"]
