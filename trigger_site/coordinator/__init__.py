"""The coordinator: the API that workers call, the writers behind it and the ticks. Serves no page and no user."""
