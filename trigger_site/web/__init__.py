"""What browsers and API clients meet before a view of an app: navigation and the rules of every request."""
