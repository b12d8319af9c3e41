"""RabbitMQ: envelope, topology, publisher."""
