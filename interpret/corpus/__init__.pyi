from .files import read_corpus as read_corpus
from .files import write_columns as write_columns
from .job import Finished as Finished
from .job import Interrupted as Interrupted
from .job import explain as explain
from .reading import read_rows as read_rows
from .work import Settings as Settings
from .work import explain_columns as explain_columns
