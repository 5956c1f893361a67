"""Pods on this node: a pure plan per pod, the table of its life, and the worker that carries plans out."""
