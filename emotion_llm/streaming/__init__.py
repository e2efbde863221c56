"""Answers while the movement goes on: frames of a sensor in, an emotion every second out."""
