"""How near estimates of performance come to what came true, beside NannyML's, and what they cost."""
