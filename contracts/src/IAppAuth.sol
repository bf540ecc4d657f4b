// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

/// What a KMS asks before it releases the keys of an app. Any contract that answers may be
/// registered with a DstackKms; DstackApp is the one that comes with it.
interface IAppAuth {
    /// Who boots, as its verified evidence says.
    struct AppBootInfo {
        address appId;
        bytes32 composeHash;
        address instanceId;
        bytes32 deviceId;
        bytes32 mrAggregated;
        bytes32 mrSystem;
        bytes32 osImageHash;
        string tcbStatus;
        string[] advisoryIds;
    }

    /// A verdict, and for a refusal the reason that the KMS passes on.
    function isAppAllowed(AppBootInfo calldata bootInfo)
        external
        view
        returns (bool isAllowed, string memory reason);
}

/// The lists that every app contract of this family has. Its ERC-165 id is the exclusive or of these
/// four selectors.
interface IAppAuthBasicManagement {
    event ComposeHashAdded(bytes32 composeHash);
    event ComposeHashRemoved(bytes32 composeHash);
    event DeviceAdded(bytes32 deviceId);
    event DeviceRemoved(bytes32 deviceId);

    function addComposeHash(bytes32 composeHash) external;
    function removeComposeHash(bytes32 composeHash) external;
    function addDevice(bytes32 deviceId) external;
    function removeDevice(bytes32 deviceId) external;
}
