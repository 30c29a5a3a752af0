"""Text and token ids, exactly: prompts, chats, targets and the vocabularies that they are written in."""
