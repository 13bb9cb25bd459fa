"""What is counted and told, on the server: from nginx's logs, the audit log, and what other tasks wrote down."""
