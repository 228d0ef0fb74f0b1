"""The demo: a small shop as the source, a CRM as the operational target, traffic that changes the shop."""
