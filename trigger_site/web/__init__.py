"""What browsers and API clients meet before an app's view: navigation and the rules for every request."""
