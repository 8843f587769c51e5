"""How dates stand everywhere: the day first, and hours up to 24.

`{{ day|date:"LONG_DATE_FORMAT" }}` and `date_format(day, "LONG_DATE_FORMAT")` find the one of
the language that is active. Those above the line are Django's own names, the others are ours.
Every language that is offered has all of them (tests/test_languages.py).
"""

DATE_FORMAT = SHORT_DATE_FORMAT = "j M Y"
DATETIME_FORMAT = SHORT_DATETIME_FORMAT = "j M Y, H:i"
TIME_FORMAT = "H:i"
YEAR_MONTH_FORMAT = "F Y"
MONTH_DAY_FORMAT = "j F"
FIRST_DAY_OF_WEEK = 1
# ------------------------------------------------------------------------------------------
LONG_DATE_FORMAT = "l, j F Y"
PLAIN_DATE_FORMAT = "j F Y"
PLAIN_DATETIME_FORMAT = "j F Y, H:i"
MONTH_DAY_TIME_FORMAT = "j F, H:i"
DAY_FORMAT = "l, j F"
DAY_TIME_FORMAT = "l, j F, H:i"
# In tables and charts, where room is scarce.
EXACT_FORMAT = "j M Y, H:i:s"
BRIEF_FORMAT = "j M"
BRIEF_TIME_FORMAT = "j M H:i"
BRIEF_DAY_FORMAT = "D j M"
BRIEF_DAY_TIME_FORMAT = "D j M H:i"
BRIEF_DAY_DATE_FORMAT = "D j M Y"
