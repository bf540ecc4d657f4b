// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {IAppAuth} from "./IAppAuth.sol";
import {PolicyBase} from "./PolicyBase.sol";

/// The rules of one KMS trust domain: which KMS instances may have the root keys, which OS images
/// may run apps, which apps exist. Each app's own contract has the last word on its code.
contract DstackKms is IAppAuth, PolicyBase {
    struct KmsInfo {
        bytes k256Pubkey;
        bytes caPubkey;
        bytes quote;
        bytes eventlog;
    }

    KmsInfo public kmsInfo; // slots 0 to 3
    string public gatewayAppId; // slot 4
    mapping(address appId => bool) public registeredApps; // slot 5
    mapping(bytes32 mrAggregated => bool) public kmsAllowedAggregatedMrs; // slot 6
    mapping(bytes32 deviceId => bool) public kmsAllowedDeviceIds; // slot 7
    mapping(bytes32 osImageHash => bool) public allowedOsImages; // slot 8
    address public appImplementation; // slot 9
    uint256[50] private __gap; // slots 10 to 59

    /// @custom:storage-location erc7201:dstack.storage.AppApproval
    struct AppApproval {
        bool required;
        mapping(address appId => bool) approved;
    }

    // keccak256(abi.encode(uint256(keccak256("dstack.storage.AppApproval")) - 1))
    // & ~bytes32(uint256(0xff))
    bytes32 private constant APP_APPROVAL =
        0xb546af1492dc8bd8a3519e5ad80476dd00b24fb294a20cc90e8e57e6f5395600;

    bytes32 private constant POLICY_OS_IMAGE = keccak256("os-image");
    bytes32 private constant POLICY_KMS_MR = keccak256("kms-aggregated-mr");
    bytes32 private constant POLICY_KMS_DEVICE = keccak256("kms-device");
    bytes32 private constant POLICY_APP = keccak256("registered-app");
    bytes32 private constant POLICY_APP_IMPLEMENTATION = keccak256("app-implementation");
    bytes32 private constant POLICY_GATEWAY = keccak256("gateway-app-id");
    bytes32 private constant POLICY_KMS_INFO = keccak256("kms-info");
    bytes32 private constant POLICY_KMS_QUOTE = keccak256("kms-quote");
    bytes32 private constant POLICY_KMS_EVENTLOG = keccak256("kms-eventlog");
    bytes32 private constant POLICY_APPROVED_APP = keccak256("approved-app");
    bytes32 private constant POLICY_APPROVAL_REQUIRED = keccak256("app-approval-required");

    event AppRegistered(address appId);
    event AppDeployedViaFactory(address indexed appId, address indexed deployer);
    event AppImplementationSet(address implementation);
    event KmsInfoSet(bytes k256Pubkey);
    event KmsAggregatedMrAdded(bytes32 mrAggregated);
    event KmsAggregatedMrRemoved(bytes32 mrAggregated);
    event KmsDeviceAdded(bytes32 deviceId);
    event KmsDeviceRemoved(bytes32 deviceId);
    event OsImageHashAdded(bytes32 osImageHash);
    event OsImageHashRemoved(bytes32 osImageHash);
    event GatewayAppIdSet(string gatewayAppId);
    event AppApproved(address appId);
    event AppApprovalRevoked(address appId);
    event AppApprovalRequiredSet(bool required);

    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor() {
        _disableInitializers();
    }

    /// Without an implementation (zero) the factory works once one is set.
    function initialize(address initialOwner, address implementation) external initializer {
        __Ownable_init(initialOwner);
        __Ownable2Step_init();
        __UUPSUpgradeable_init();
        __ERC165_init();
        if (implementation != address(0)) {
            _setAppImplementation(implementation);
        }
    }

    // ---- decisions ----

    function isKmsAllowed(AppBootInfo calldata bootInfo)
        external
        view
        returns (bool isAllowed, string memory reason)
    {
        if (!_isUpToDate(bootInfo.tcbStatus)) {
            return (false, "TCB status is not up to date");
        }
        reason = _osImageRefusal(bootInfo.osImageHash);
        if (bytes(reason).length > 0) {
            return (false, reason);
        }
        if (!kmsAllowedAggregatedMrs[bootInfo.mrAggregated]) {
            return (false, "Aggregated MR not allowed");
        }
        if (!_inForce(POLICY_KMS_MR, bootInfo.mrAggregated)) {
            return (false, "Aggregated MR is outside its validity period");
        }
        if (!kmsAllowedDeviceIds[bootInfo.deviceId]) {
            return (false, "KMS is not allowed to boot on this device");
        }
        if (!_inForce(POLICY_KMS_DEVICE, bootInfo.deviceId)) {
            return (false, "KMS device is outside its validity period");
        }
        return (true, "");
    }

    function isAppAllowed(AppBootInfo calldata bootInfo)
        external
        view
        returns (bool isAllowed, string memory reason)
    {
        AppApproval storage approval = _approval();
        if (!registeredApps[bootInfo.appId]) {
            return (false, "App not registered");
        }
        if (!_inForce(POLICY_APP, _word(bootInfo.appId))) {
            return (false, "App registration is outside its validity period");
        }
        if (approval.required && !approval.approved[bootInfo.appId]) {
            return (false, "App is not approved");
        }
        reason = _osImageRefusal(bootInfo.osImageHash);
        if (bytes(reason).length > 0) {
            return (false, reason);
        }
        if (bootInfo.appId.code.length == 0) {
            return (false, "App not deployed or invalid address");
        }
        return IAppAuth(bootInfo.appId).isAppAllowed(bootInfo);
    }

    // ---- apps ----

    /// Open to everyone: an app can only speak for its own address.
    function registerApp(address appId) public {
        require(appId != address(0), "Invalid app ID");
        registeredApps[appId] = true;
        emit AppRegistered(appId);
        _changed(POLICY_APP, _word(appId), true);
    }

    function deployAndRegisterApp(
        address initialOwner,
        bool disableUpgrades,
        bool requireTcbUpToDate,
        bool allowAnyDevice,
        bytes32 deviceId,
        bytes32 composeHash
    ) public returns (address appId) {
        require(appImplementation != address(0), "App implementation not set");
        bytes memory call = abi.encodeWithSignature(
            "initialize(address,bool,bool,bool,bytes32,bytes32)",
            initialOwner,
            disableUpgrades,
            requireTcbUpToDate,
            allowAnyDevice,
            deviceId,
            composeHash
        );
        appId = address(new ERC1967Proxy(appImplementation, call));
        registerApp(appId);
        emit AppDeployedViaFactory(appId, _msgSender());
    }

    /// The older form, which asks nothing of the TCB.
    function deployAndRegisterApp(
        address initialOwner,
        bool disableUpgrades,
        bool allowAnyDevice,
        bytes32 deviceId,
        bytes32 composeHash
    ) external returns (address appId) {
        return deployAndRegisterApp(
            initialOwner, disableUpgrades, false, allowAnyDevice, deviceId, composeHash
        );
    }

    function appApprovalRequired() external view returns (bool) {
        return _approval().required;
    }

    function approvedApps(address appId) external view returns (bool) {
        return _approval().approved[appId];
    }

    /// With approval required, registration alone gives no keys.
    function setAppApprovalRequired(bool required) external onlyOwner {
        _approval().required = required;
        emit AppApprovalRequiredSet(required);
        _changed(POLICY_APPROVAL_REQUIRED, 0, required);
    }

    function approveApp(address appId) external onlyOwner {
        require(appId != address(0), "Invalid app ID");
        _approval().approved[appId] = true;
        emit AppApproved(appId);
        _changed(POLICY_APPROVED_APP, _word(appId), true);
    }

    function revokeAppApproval(address appId) external onlyOwnerOrGuardian {
        delete _approval().approved[appId];
        emit AppApprovalRevoked(appId);
        _changed(POLICY_APPROVED_APP, _word(appId), false);
    }

    /// The code of apps made from now on; existing apps keep theirs.
    function setAppImplementation(address implementation) external onlyOwner {
        require(implementation != address(0), "Invalid implementation address");
        _setAppImplementation(implementation);
    }

    // ---- OS images and KMS instances ----

    function addOsImageHash(bytes32 osImageHash) external onlyOwner {
        allowedOsImages[osImageHash] = true;
        emit OsImageHashAdded(osImageHash);
        _changed(POLICY_OS_IMAGE, osImageHash, true);
    }

    function removeOsImageHash(bytes32 osImageHash) external onlyOwnerOrGuardian {
        delete allowedOsImages[osImageHash];
        _forgetValidity(POLICY_OS_IMAGE, osImageHash);
        emit OsImageHashRemoved(osImageHash);
        _changed(POLICY_OS_IMAGE, osImageHash, false);
    }

    function addKmsAggregatedMr(bytes32 mrAggregated) external onlyOwner {
        kmsAllowedAggregatedMrs[mrAggregated] = true;
        emit KmsAggregatedMrAdded(mrAggregated);
        _changed(POLICY_KMS_MR, mrAggregated, true);
    }

    function removeKmsAggregatedMr(bytes32 mrAggregated) external onlyOwnerOrGuardian {
        delete kmsAllowedAggregatedMrs[mrAggregated];
        _forgetValidity(POLICY_KMS_MR, mrAggregated);
        emit KmsAggregatedMrRemoved(mrAggregated);
        _changed(POLICY_KMS_MR, mrAggregated, false);
    }

    function addKmsDevice(bytes32 deviceId) external onlyOwner {
        kmsAllowedDeviceIds[deviceId] = true;
        emit KmsDeviceAdded(deviceId);
        _changed(POLICY_KMS_DEVICE, deviceId, true);
    }

    function removeKmsDevice(bytes32 deviceId) external onlyOwnerOrGuardian {
        delete kmsAllowedDeviceIds[deviceId];
        _forgetValidity(POLICY_KMS_DEVICE, deviceId);
        emit KmsDeviceRemoved(deviceId);
        _changed(POLICY_KMS_DEVICE, deviceId, false);
    }

    // ---- what apps and clients read ----

    function setGatewayAppId(string calldata appId) external onlyOwner {
        gatewayAppId = appId;
        emit GatewayAppIdSet(appId);
        _changed(POLICY_GATEWAY, keccak256(bytes(appId)), true);
    }

    function setKmsInfo(KmsInfo calldata info) external onlyOwner {
        kmsInfo = info;
        emit KmsInfoSet(info.k256Pubkey);
        _changed(POLICY_KMS_INFO, keccak256(info.k256Pubkey), true);
    }

    function setKmsQuote(bytes calldata quote) external onlyOwner {
        kmsInfo.quote = quote;
        _changed(POLICY_KMS_QUOTE, keccak256(quote), true);
    }

    function setKmsEventlog(bytes calldata eventlog) external onlyOwner {
        kmsInfo.eventlog = eventlog;
        _changed(POLICY_KMS_EVENTLOG, keccak256(eventlog), true);
    }

    // ---- ownership and upgrades ----

    /// A KMS without an owner could never revoke an OS image: hand it to a contract instead.
    function renounceOwnership() public view override onlyOwner {
        revert("Ownership cannot be renounced");
    }

    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == type(IAppAuth).interfaceId || super.supportsInterface(interfaceId);
    }

    function _osImageRefusal(bytes32 osImageHash) private view returns (string memory) {
        if (!allowedOsImages[osImageHash]) {
            return "OS image is not allowed";
        }
        if (!_inForce(POLICY_OS_IMAGE, osImageHash)) {
            return "OS image is outside its validity period";
        }
        return "";
    }

    function _setAppImplementation(address implementation) private {
        appImplementation = implementation;
        emit AppImplementationSet(implementation);
        _changed(POLICY_APP_IMPLEMENTATION, _word(implementation), true);
    }

    function _authorizeUpgrade(address) internal view override onlyOwner {}

    function _hasValidity(bytes32 policy) internal pure override returns (bool) {
        return policy == POLICY_OS_IMAGE || policy == POLICY_KMS_MR || policy == POLICY_KMS_DEVICE
            || policy == POLICY_APP;
    }

    function _approval() private pure returns (AppApproval storage s) {
        assembly {
            s.slot := APP_APPROVAL
        }
    }
}
