"""Clips: built-in motions, folders of videos, the cache, and how clips are drawn from videos."""
