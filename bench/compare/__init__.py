"""`make bench`: the appliance beside the other modes of the gateway, measured in turns in one run; each mode is checked first."""
