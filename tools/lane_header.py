"""Print the C header of the lane's program: `python -m tools.lane_header`."""

from appliance.ipc.lane_header import header

if __name__ == "__main__":
    print(header(), end="")
