"""Every call of OpenAI's API that is not the gateway's own, handed to who has it."""
