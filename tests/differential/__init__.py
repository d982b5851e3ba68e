"""Random programs of tasks, run on stock asyncio and on another loop: both must leave the same log."""
