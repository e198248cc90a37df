"""What a developer of foretable runs by hand."""
