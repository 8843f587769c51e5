"""How many times faster minutes pass here. Apart from `clock`, which changes Celery's app."""

SPEED = 30
