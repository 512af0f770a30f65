"""How both servers face the network: limits on connections and requests, health, and a database that is away."""
