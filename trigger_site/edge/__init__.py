"""How both servers face the network: limits of connections and requests, health, and a database that is away."""
