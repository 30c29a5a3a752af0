from .model import NextTokenLM as NextTokenLM
from .prompt import Piece as Piece
from .prompt import Prompt as Prompt
from .target import Target as Target
from .vocabulary import IdVocabulary as IdVocabulary
from .vocabulary import SymbolVocabulary as SymbolVocabulary
from .vocabulary import TokenizerVocabulary as TokenizerVocabulary
from .vocabulary import Vocabulary as Vocabulary
