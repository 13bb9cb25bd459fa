"""The certificate, on the server: certbot, the looks before an order, what is remembered, cron."""
