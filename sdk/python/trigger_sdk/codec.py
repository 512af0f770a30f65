"""The codec's public part: `register` makes values of further types storable. docs/values.md lists what is stored.

```python
from trigger_sdk import codec

codec.register(Money, encode=lambda money: money.cents, decode=Money, name="shop.Money")
```
"""

from trigger_sdk.values.custom import register

__all__ = ["register"]
