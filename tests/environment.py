"""The suite's environment, set before Django reads its settings: nothing of yours leaks in.

A pytest plugin (`-p tests.environment` in pyproject.toml), because settings are read before any
conftest. TEST_DATABASE_URL runs the same suite on another database.
"""

import os
import signal
import tempfile

OWN = {
    "DATABASE_URL", "REDIS_URL", "EMAIL_URL", "EMAIL_BACKEND", "SITE_URL", "DEBUG", "ALLOWED_HOSTS",
    "MAIL_FROM", "LIST_ID", "WAKE_TASK", "HUGGINGFACE_TOKEN", "PORT", "TRUST_PROXY", "LOG_LEVEL",
    "LOG_FORMAT", "METRICS_TOKEN", "WEB_BIND", "WEB_WORKERS", "WEB_THREADS",
    "FALLBACK_EMAIL_URL", "FALLBACK_EMAIL_BACKEND", "MAIL_PER_SECOND", "MAIL_PER_DAY",
    "MAIL_WARMUP_FROM", "MAIL_WARMUP_FIRST_DAY", "MAIL_WARMUP_GROWTH", "ARXIV_CATEGORIES",
    "SEMANTIC_SCHOLAR_KEY", "ANSWER_RETENTION_DAYS", "PUBLIC_ENTRIES", "SEMANTIC_MODEL",
    "SEMANTIC_MODEL_NAME", "SEMANTIC_API_KEY", "LANGUAGES",
}  # fmt: skip

# A shell that starts us in the background has us ignore Ctrl-C, and so whatever we start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

for name in OWN:
    os.environ.pop(name, None)
os.environ |= {
    "ENV_FILE": os.devnull,
    "DATA_DIR": tempfile.mkdtemp(prefix="paperround-tests-"),
    "SECRET_KEY": "tests-only-" + "k" * 50,
    "SUPPRESSION_KEY": "tests-only-" + "s" * 50,
    "SITE_URL": "http://paperround.test",
    "POSTAL_ADDRESS": "Paperround, 1 Test Street, 12345 Testville",
    # discard: nothing answers unless a test starts it
    **dict.fromkeys(
        [
            "HUGGINGFACE_URL",
            "ARXIV_URL",
            "ARXIV_FEED_URL",
            "ARXIV_OAI_URL",
            "SEMANTIC_SCHOLAR_URL",
            "ORCID_URL",
        ],
        "http://127.0.0.1:9",
    ),
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
if url := os.environ.get("TEST_DATABASE_URL"):
    os.environ["DATABASE_URL"] = url
