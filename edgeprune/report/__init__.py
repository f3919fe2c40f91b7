"""What a run found, as versioned data (`model`), and its renderers: console, Markdown, HTML."""
