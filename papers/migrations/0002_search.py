"""The index of words; what it is, and how triggers keep it, stands in papers/words.py.

SQLite makes a table anew when a column changes, and forgets its triggers: a later migration that
alters papers_paper ends with `words.drop` and `words.create`.
"""

from django.db import migrations

from papers import words


def create(apps, schema_editor):
    words.create(schema_editor.connection)


def drop(apps, schema_editor):
    words.drop(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("papers", "0001_initial")]

    operations = [migrations.RunPython(create, drop)]
