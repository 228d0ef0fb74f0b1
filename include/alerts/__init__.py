"""Sending messages to people, through connections of type apprise: Slack, mail, a pager, a webhook, a file …"""
