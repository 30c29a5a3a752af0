from .files import read_corpus as read_corpus
from .files import write_columns as write_columns
from .reading import read_rows as read_rows
from .work import Settings as Settings
from .work import explain_columns as explain_columns
